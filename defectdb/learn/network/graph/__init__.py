"""Structures as graphs of their defects: nodes, edges, shells and elements."""
