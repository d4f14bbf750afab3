"""The HTTP face: thin routes over what features store. It reads chain tables and never holds a key."""
