"""Where results and the inputs of jobs are kept: a local folder, S3-compatible storage, Google Cloud or Azure."""
