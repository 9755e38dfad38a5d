"""The search for cells: generators of candidates, their growth to all lines, and the evidence for each."""
