"""Other ways to make the files of a run: NNCF, and TensorFlow SavedModels."""
