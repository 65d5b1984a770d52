"""Lines of a jobcomp log."""


def line(job: int, start: str, end: str, state: str = "COMPLETED", **values: str) -> str:
    """An entry of the log; start and end are local times."""
    given = {"NodeList": "node1", "Partition": "batch", "Submit": start, **values}
    return (
        f"JobId={job} UserId=bob(1002) GroupId=staff(50) Name=wrap JobState={state}"
        f" Partition={given['Partition']} TimeLimit=30 StartTime={start} EndTime={end}"
        f" NodeList={given['NodeList']} NodeCnt=1 ProcCnt=4 WorkDir=/ ReservationName="
        f" Tres=cpu=4,mem=64M Account=physics QOS=normal WcKey= Cluster=lab"
        f" SubmitTime={given['Submit']} EligibleTime={given['Submit']}"
        " DerivedExitCode=0:0 ExitCode=0:0 \n"
    )
