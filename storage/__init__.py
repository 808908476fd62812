"""Where results, and what jobs were given, are kept: a local folder, S3 and its compatibles, Google Cloud or Azure."""
