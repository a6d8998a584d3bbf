"""Values: addresses, services, configuration, VirtualIPs, routes, reasons and reports. No I/O, no clock."""
