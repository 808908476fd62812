"""The supply chain: licences and known vulnerabilities of locked packages, and the contents of images."""
