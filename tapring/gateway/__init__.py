"""HTTP: what consumers on other machines, browsers and Prometheus may see of the engines here."""
