"""The parts of planned.py: each is a function that gets the rig and a folder, and returns judgements."""
from planning import filters, gateway, script

PARTS = {"filters": filters.istio, "meshes": filters.meshes, "gateway": gateway.gateway, "script": script.script,
         "kubectl": script.kubectl}
