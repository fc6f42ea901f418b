"""What models and data cost: the sizes of a task, counted on torch modules, or of a family."""
