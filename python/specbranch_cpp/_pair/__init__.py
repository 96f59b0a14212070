"""Files about a pair: profiles, weights of H-RAD, batch sizes that agree."""
