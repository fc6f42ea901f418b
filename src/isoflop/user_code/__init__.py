"""What a user's model, data and loss must keep.

Everything that needs torch imports this package first, so here is the check that it is installed.
"""

from isoflop.extras import require_train

require_train()
