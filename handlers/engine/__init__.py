"""The engine process: opens a bundle, schedules requests, computes, answers over frames."""
