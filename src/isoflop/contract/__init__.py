"""What a user's model, data and loss must keep. All that needs torch imports this first, so the check is here."""

from isoflop.extras import require_train

require_train()
