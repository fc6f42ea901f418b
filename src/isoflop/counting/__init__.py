"""What a user's model and data cost.

Everything that needs torch imports this package first, so it checks that torch is installed.
"""

from isoflop.extras import require_train

require_train()
