"""Long work beside the requests: the keeper of a worker, the sweep, and jobs with a row in the job table."""
