"""Running a job folder, and watching one."""
