"""What every other package needs: whole files, progress, the host and its devices."""
