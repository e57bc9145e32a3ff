"""`jogak report`: an output folder as one HTML file."""
