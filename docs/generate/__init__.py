"""What the site has beside the pages of this directory, made of the library when it is built."""
