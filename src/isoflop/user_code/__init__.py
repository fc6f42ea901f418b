"""The contract of a user's model, data and loss.

Everything that needs torch imports this package first, so it checks that torch is installed.
"""

from isoflop.extras import require_train

require_train()
