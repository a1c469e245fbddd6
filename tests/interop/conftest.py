"""The real packages, offline."""

import os

# litellm, which three of the packages bring, else asks the network for a price list when it is imported: seconds of retries.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
