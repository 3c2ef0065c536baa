def judge_all(meshpcap, folders): raise NotImplementedError
