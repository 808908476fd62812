"""Every way in ends here: drafts become requests, requests go to runners, events come back."""
