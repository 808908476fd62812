"""The second miniature: a flow-matching transformer between the first one's text encoder and autoencoder."""
