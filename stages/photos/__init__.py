"""Reading photographs: files, lists, archives, remote sources."""
