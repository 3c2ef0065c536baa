def script(rig, folder): return []
def kubectl(rig, folder): return []
