"""Training scripts: one recipe per generator, each writing a checkpoint directory. Imports no other package of ours."""
