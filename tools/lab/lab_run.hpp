#pragma once
// Runs a lab: what `shmifctl up` does when the file is right.
//
//   controller (this process)
//     |-- guardian: waits for the controller's death, and then removes the buses and the state
//     |-- shmifctl dump, one for each bus of a capture
//     |-- shmifctl gateway
//     |-- shmifctl exec, one for each host   --  its namespaces, its program
//     |-- ssh, one for each other machine, with a controller at its other end
//     |-- shmifctl uplink, one for each bus of such a machine
//     `-- shmifctl enter, the test
//
// The kernel ends all children with the controller (PR_SET_PDEATHSIG), so a killed controller
// leaves no process of the lab. The guardian then removes the files. If it is killed, too, the
// buses and the state stay until the next `up` or `down` of that name. The folder of results always
// stays, except that of a controller on another machine, which is temporary.
//
// All or nothing: until every host is ready, the first failure takes everything down.

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/child.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/results.hpp"
#include "tools/lab/state.hpp"
#include "tools/uplink/machine_line.hpp"

namespace shmif::tools {

class MachineLine;

/// The part of a lab that runs here for a controller on another machine.
struct LabFar {
  std::string machine;  ///< its hosts run here
  MachineLine& line;
};

struct LabRunOptions {
  std::optional<std::uint64_t> seed;
  std::string results;        ///< the folder of logs and captures; with `far`, a temporary one
  bool keep_results = false;  ///< also if the test passed
  std::string junit{};        ///< a file, or empty
  std::optional<std::chrono::nanoseconds> time_limit{};
  std::string time_limit_text{};  ///< as it was given, for messages
  /// Detached: what waits at the other end of this pipe gets a byte, the exit code, when the lab is
  /// ready or has failed. From then on, output goes to lab.log. Empty: in the foreground.
  UniqueFd* news = nullptr;
  LabFar* far = nullptr;  ///< null: the whole lab runs from here
};

/// Threads: the only one. Blocks: until the lab has ended. Result: the exit code. Errors are
/// printed.
int run_lab(const Lab& lab, const LabRunOptions& options, const StopSignals& stop);

/// The far end of a lab on several machines: runs what the controller at the other end of standard
/// input and output asks for. Threads: the only one. Blocks: until that line is closed. Result: the
/// exit code. Throws if it cannot begin.
int run_far_lab();

/// The name of the lab's part on a machine: for its state and its buses there.
std::string far_lab_name(const Lab& lab, const std::string& machine);
/// The path of a bus there.
std::string far_bus_path(const Lab& lab, const std::string& machine, const std::string& bus);

// The controller of a lab, in its parts: lab_run.cpp starts, lab_watch.cpp watches, lab_events.cpp
// does what `at` says and runs shmifperf, lab_end.cpp takes down and reports.
//
// For hosts on another machine, a second controller runs there, at the other end of ssh: the same
// class with LabRunOptions::far. lab_machines.cpp has both ends.

/// Output of one program of the lab: its log, its lines on the terminal, its last lines.
struct LabOutput {
  std::string name;
  bool on_terminal = true;
  bool may_colour = true;          ///< the terminal gets its colours
  std::string pending{};           ///< a line that is not complete
  std::deque<std::string> last{};  ///< lines, for messages

  std::string last_lines() const {
    std::string all;
    for (const std::string& line : last) all += line + '\n';
    return all;
  }
};

/// A controller on another machine ends when it has heard nothing for so long: the line may be cut
/// without an end.
inline constexpr std::chrono::seconds kFarPatience{20};

class LabRun {
 public:
  using Clock = std::chrono::steady_clock;

  LabRun(const Lab& lab, const LabRunOptions& options, const StopSignals& stop, LabResults results,
         std::string folder);

  int run();

 private:
  /// After a SIGTERM, shmifperf waits for frames that are on their way, and reports.
  static constexpr std::chrono::seconds kTimeForPerfs{5};
  /// A host whose program has ended gives others in it 100 ms.
  static constexpr std::chrono::seconds kTimeForTestsHost{2};

  enum class Phase : std::uint8_t { waiting, starting, up, ready, ended };

  struct Host {
    const LabHost* spec = nullptr;
    Phase phase = Phase::waiting;
    std::optional<LabChild> child{};
    bool runs_far = false;  ///< it runs on another machine
    LabOutput output{};
    bool saw_text = false;  ///< of LabReady::When::log
    bool was_ready = false;
    bool told_to_end = false;  ///< by the lab: its exit code says nothing
    unsigned restarts = 0;
    Clock::time_point begun{};
    Clock::time_point next_look{};
    std::optional<Clock::time_point> again{};  ///< when it is started again
    std::optional<Clock::time_point> kill{};   ///< when a told one gets a SIGKILL
    int status = 0;
    std::string failure{};
    std::optional<double> seconds_to_ready{};

    bool runs() const noexcept { return child.has_value() || runs_far; }
    bool is_far() const noexcept { return !spec->machine.value.empty(); }
    /// Whether that is its name, or that of its `count`.
    bool is_named(const std::string& name) const {
      return spec->name == name || spec->group == name;
    }
  };

  /// The controller on another machine.
  struct Machine {
    const LabMachine* spec = nullptr;
    LabOutput output{};
    std::optional<LabChild> child{};  ///< ssh
    std::optional<MachineLine> line{};
    std::uint64_t asked = 0;  ///< the number of the last change that it was asked for
    bool up = false;          ///< its buses are there
    std::string failure{};
  };

  /// A capture, a gateway, or what looks for the frame of an event.
  struct Helper {
    LabOutput output{};
    std::string bus{};  ///< where its port shows that it works
    std::string port{};
    std::optional<LabChild> child{};
    bool works = false;
    std::string failure{};               ///< it has ended before the lab
    std::optional<std::size_t> event{};  ///< it looks for a frame for this one
  };

  /// A run of shmifperf; when it has ended, the one that makes its page.
  struct Perf {
    const LabPerf* spec = nullptr;
    LabOutput output{};
    std::optional<LabChild> child{};
    bool is_of_event = false;  ///< an event starts it
    bool makes_page = false;
    bool told_to_end = false;  ///< by an event: its exit code says nothing
    std::optional<Clock::time_point> kill{};
    Clock::time_point begun{};
    bool has_begun = false;
    std::optional<int> status{};  ///< of the last run that has ended
    std::string failure{};
    std::optional<double> seconds{};
  };

  /// An event, and where it stands.
  struct Event {
    const LabEvent* spec = nullptr;
    bool triggered = false;
    Clock::time_point due{};
    std::chrono::nanoseconds delay{0};
    bool queued = false;  ///< it was due
    Clock::time_point begun{};
    std::optional<double> seconds{};  ///< how long it took
    bool done = false;                ///< those before it are finished, and it has begun
    bool finished = false;            ///< it is known whether it was applied
    bool applied = false;
    std::string result{};
  };

  /// How a line differs from what the file says. A host that is started again keeps that.
  struct LineNow {
    std::optional<std::string> fault{};
    bool link_down = false;
    std::string moved_to{};  ///< a bus; empty: it was not moved
  };

  /// A request to change a line, of the event that is under way: one at a time, in their order.
  struct Change {
    std::size_t event = 0;
    std::vector<std::string> words{};
    std::string machine{};  ///< empty: this one
    bool is_last = true;    ///< of its event
  };

  /// The change that another machine makes.
  struct FarChange {
    std::string machine;
    std::uint64_t number = 0;     ///< its answer has the same
    Clock::time_point until{};    ///< then it has failed
    std::optional<int> status{};  ///< what became of it
  };

  // lab_run.cpp
  void make_buses();
  LabState state_now(bool ready) const;
  void start_helpers();
  void start_helper(Helper helper, std::vector<std::string> words, int on_death);
  void start_host(Host& host);
  void start_hosts_that_may();
  bool may_start(const Host& host) const;
  void look_at_starting();
  void look_at_helpers();
  std::optional<pid_t> init_of(const Host& host);
  /// Of a host that runs here: its program was started.
  bool is_set_up(const Host& host) const noexcept { return marks_.is_set(number_of(host)); }
  std::size_t number_of(const Host& host) const noexcept {
    return static_cast<std::size_t>(&host - hosts_.data());
  }
  void become_ready(Host& host);
  bool all_ready() const;
  void begin_ready();
  void watch(Clock::time_point until);
  std::vector<pollfd> wanted_polls() const;
  Clock::time_point next_time() const;
  void take_output(LabOutput& output, LabChild& child);
  void take_line(LabOutput& output, std::string line);
  void print_line(const LabOutput& output, std::string_view line);
  void take_ends();
  void host_ended(Host& host, int status);
  void note(const std::string& what, bool applied, const std::string& result);
  void say(const std::string& text);
  PatientOutput& errors() noexcept { return errors_ ? *errors_ : out_; }
  void open_streams();
  void flush_streams();
  void finish_streams();
  void note_lost_output();
  void show_progress();
  std::string awaited() const;
  std::string name_of(const Helper& helper) const;
  void fail_start(const std::string& why, const LabOutput* output, int code = 1);
  bool is_over() const;
  /// Whether the lab has an end of its own: a test, or runs of shmifperf.
  bool decides() const noexcept { return lab_.test.has_value() || !perfs_.empty(); }
  using Environment = std::vector<std::pair<std::string, std::string>>;
  Environment environment() const;
  Environment environment_of(const LabHost& host) const;
  std::vector<std::string> enter_words(const LabHost& host) const;
  void take_rest(LabOutput& output, LabChild& child);
  void start_test();
  void take_test();
  void settle_test();
  Host* host_of_test();

  // lab_events.cpp, about shmifperf
  void prepare_perfs();
  void start_perf(Perf& perf);
  void perf_ended(Perf& perf, int status);
  bool perfs_are_over() const;
  bool start_or_stop_perf(std::size_t index, const LabEvent& event);
  LabCase case_of(const Perf& perf) const;
  void take_text(LabOutput& output, const std::string& text);
  void signal_host(const Host& host, int number);
  bool runs_here(const LabHost& host) const noexcept;
  bool needs_bus(const LabBus& bus) const;

  // lab_machines.cpp
  void start_machines();
  void start_uplinks(const Machine& machine);
  void take_machines();
  void take_records(Machine& machine);
  void take_record(Machine& machine, const Json& record);
  void refuse_machine(Machine& machine, const std::string& why);
  void take_machine_end(Machine& machine, int status);
  void keep_machines_alive();
  void tell_machine(const std::string& name, const Json& record);
  bool machines_run() const;
  void change_on(const std::string& machine);
  void end_far_change(const std::string& why);
  Host* host_of_record(const std::string& name, const std::string& machine);

  // lab_machines.cpp, at the other end
  void take_requests();
  void do_request(const Json& request);
  void tell_near(const Json& record);
  void tell_output(const std::string& name, std::string_view text);
  bool reads_hosts() const;
  void tell_last();

  // lab_events.cpp
  void trigger(LabTrigger::What what, const std::string& name, std::string_view line = {});
  void arm(Event& event, Clock::time_point now);
  void note_line(const Change& change);
  LineNow line_of(const LabHost& host, const std::string& bus) const;
  std::size_t bus_of(const LineNow& line, const std::string& bus) const;
  LabHost host_now(const Host& host);
  void take_changes_by_hand(const LabInterface& interface, const std::string& host);
  void do_due_events();
  void do_event(std::size_t index);
  void go_on_with_events();
  void begin_change();
  bool take_change();
  void finish_event(std::size_t index, bool applied, const std::string& result);
  std::string machine_of(const LabEvent& event) const;
  std::vector<std::vector<std::string>> changes_for(const LabEvent& event) const;
  void stop_host(std::size_t index, const std::string& name);
  void start_again(std::size_t index, const std::string& name);

  // lab_end.cpp
  void take_down();
  void join_captures();
  bool watch_while(const std::function<bool()>& some_run, std::chrono::milliseconds at_most);
  std::chrono::seconds time_to_end() const;
  int report();
  std::vector<LabCase> cases() const;
  std::string end_before_ready() const;
  void tell_missed_events();
  void tell_news(int code);

  static constexpr std::size_t kWidestName = 16;  ///< before lines of output
  static constexpr std::chrono::milliseconds kStartLook{10};
  /// A lab that is not ready after this time says for what it waits, and again after twice as long.
  static constexpr std::chrono::seconds kFirstAwaited{5};

  const Lab& lab_;
  const LabRunOptions& options_;
  const StopSignals& stop_;
  LabResults results_;
  std::string folder_;  ///< of states
  PatientOutput out_;
  std::optional<PatientOutput> errors_;  ///< empty: both streams are the same
  Progress progress_;
  bool colours_;
  std::size_t name_width_ = 0;
  Clock::time_point begun_ = Clock::now();
  std::optional<Clock::time_point> ready_;
  std::optional<Clock::time_point> limit_;
  std::vector<std::optional<Bus>> views_;  ///< of the buses, in their order
  std::vector<Host> hosts_;
  LabMarks marks_;  ///< of the hosts, in their order
  std::vector<Machine> machines_;
  Clock::time_point alive_due_{};
  std::vector<Helper> helpers_;
  std::vector<Perf> perfs_;
  std::vector<Event> events_;
  std::deque<std::size_t> due_events_;  ///< that have not begun
  std::deque<Change> changes_;
  std::optional<LabChild> change_;
  std::optional<FarChange> far_change_;
  std::uint64_t far_changes_ = 0;  ///< counts them; on the other machine, the one under way
  std::string change_text_;
  std::optional<LabChild> test_;
  LabOutput test_output_;
  std::optional<int> test_status_;
  std::string test_failure_{};  ///< why it did not begin, or what ended it
  /// A signal ended it: perhaps its host has ended, which is known only later.
  std::optional<int> test_signalled_;
  Clock::time_point test_patience_{};
  Clock::time_point test_begun_{};
  std::optional<double> test_seconds_{};
  bool ending_ = false;
  bool timed_out_ = false;
  int output_lost_ = 0;    ///< the errno of the first failure to write to standard output
  std::string awaited_{};  ///< if the lab ended before it was ready: for what it waited
  Clock::time_point tell_awaited_{};
  Clock::duration tell_again_ = kFirstAwaited;
  std::string start_failure_;
  int start_code_ = 0;
  std::vector<LabStateBus> made_;           ///< the buses that this run has made
  Clock::time_point heard_ = Clock::now();  ///< at the far end: when the near side said something
  std::vector<std::string> groups_;         ///< its control groups
  /// What was changed on a line since the lab began, by "HOST.BUS" of the file.
  std::map<std::string, LineNow> lines_;
};

}  // namespace shmif::tools
