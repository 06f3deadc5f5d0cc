"""What reads and writes files safely: bounded, checked, atomic, claimed. Knows no run."""
