"""What happens beside training: each file one Lightning callback, its maths as functions."""
