"""Pictures of timelines and of simulations."""
