"""Private implementation of the server. Only `meshcentral.core` itself and the offline commands import it."""
