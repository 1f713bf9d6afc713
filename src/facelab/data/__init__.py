"""Face sets, splits, augmentation, and the DataModule that delivers them."""
