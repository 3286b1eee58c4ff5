"""Components wired together: the KFP side of soda. Installed as `soda_pipelines`."""
