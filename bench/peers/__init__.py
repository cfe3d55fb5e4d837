"""Other nucleus networks, rebuilt from their papers, compared with ours on this machine's CPU."""
