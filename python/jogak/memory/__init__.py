"""Memory on plain data: which values to compute again (`remat`), and where buffers lie in one arena (`packing`)."""
