"""How networks learn: the loop, what drives it, teachers and their answers."""
