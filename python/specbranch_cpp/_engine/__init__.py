"""The parts of `Engine`: its options, requests, the policy and the functions of the caller."""
