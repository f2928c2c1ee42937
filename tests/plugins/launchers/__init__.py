"""The launchers of this distribution, on the engines that they are for."""
