"""Other nucleus networks, built anew from their papers, beside ours on this machine's CPU."""
