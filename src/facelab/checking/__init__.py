"""Report what a look at the images of a face set found, before training."""
