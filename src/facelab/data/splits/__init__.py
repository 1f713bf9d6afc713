"""Rules that split a face set, and the guards of every split."""
