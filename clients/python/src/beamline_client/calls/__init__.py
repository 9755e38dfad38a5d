"""The methods of both clients, one file for each part of the service, each a flow."""
