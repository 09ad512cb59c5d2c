// shmifctl serve: a page in the browser that shows buses at work.

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "shmif/bus.hpp"
#include "shmif/socket_address.hpp"
#include "tools/common/options.hpp"
#include "tools/common/signals.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/state.hpp"
#include "tools/page/access.hpp"
#include "tools/page/page_site.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

constexpr const char* kDefaultAddress = "127.0.0.1:8080";
constexpr std::size_t kMaxServed = 64;  // buses

struct ServeWish {
  std::vector<std::string> words;
  SocketAddress address;
  PageAccess access;
  std::optional<std::chrono::nanoseconds> at_most{};
};

ServeWish read_serve_line(const CommandLine& line) {
  const Arguments args =
      Options("serve", "LAB|PATH...")
          .bus_first(" and there is no LAB")
          .about(
              R"(Shows buses in a browser, live: hosts, their addresses and links, rates, losses,
                 faults, the last frames, and counters over time. A running lab is named by its
                 file or its name; without a lab, name one bus or several. Prints the URL of the
                 page, and serves it until Ctrl-C. The URL contains a secret: whoever has it can
                 read every frame, and with --write also change links. Requests without it, and
                 requests of other pages, are refused. Only this machine can reach the page, unless
                 --http says otherwise. Looking does not disturb the bus.)")
          .value("http", "ADDRESS",
                 R"(serve at this address (default 127.0.0.1:8080); with port 0, at a free port.
                    With an address that others can reach, use a network that you trust: what the
                    page sends is not encrypted)")
          .flag("write",
                R"(let the page take links down and up, set faults, and partition the bus; by
                   default it only shows. It can do what you can do with the bus)")
          .repeatable("allow-host", "NAME",
                      R"(also answer under this name of the machine; by default, only under
                         addresses and "localhost", because a foreign page can make any other name
                         lead here)")
          .value("timeout", "SECONDS", "end after that time (default: never)")
          .words(1, kMaxServed)
          .example("shmifctl serve /dev/shm/bus0", "look at a bus in the browser")
          .example("shmifctl serve three.toml --write", "look at a running lab, and change it")
          .example("shmifctl serve /dev/shm/left /dev/shm/right --http 127.0.0.1:0",
                   "two buses on one page, at a free port")
          .example(
              "shmifctl serve /dev/shm/bus0 --http 0.0.0.0:8080 --allow-host lab3 --timeout 3600",
              "show it to the whole network for an hour, also as http://lab3:8080/")
          .parse(line);
  ServeWish wish;
  wish.words = args.positional();
  if (std::set<std::string>(wish.words.begin(), wish.words.end()).size() != wish.words.size())
    throw UsageError{"a bus is named twice (name each bus once)"};
  const std::string given = args.text("http").value_or(kDefaultAddress);
  Result<SocketAddress> address = parse_socket_address(given);
  if (!address) {
    throw UsageError{"--http \"" + given +
                     "\" is not an address and a port (such as 127.0.0.1:8080, or [::1]:8080)"};
  }
  wish.address = *address;
  wish.access.may_write = args.flag("write");
  wish.access.names = args.all("allow-host");
  for (const std::string& name : wish.access.names) {
    constexpr std::string_view kSigns =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!name.empty() && name.find_first_not_of(kSigns) == std::string::npos) continue;
    throw UsageError{"--allow-host \"" + name +
                     "\" is not a name of a machine, as a URL has it (such as lab3, without a "
                     "port)"};
  }
  wish.at_most = args.seconds("timeout");
  return wish;
}

// ---- What the words name ----

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// Whether each bus that a host is on was made.
bool has_all_buses(const LabState& state) {
  return std::ranges::all_of(state.hosts, [&](const LabStateHost& host) {
    return std::ranges::all_of(host.buses, [&](const std::string& name) {
      return std::ranges::find(state.buses, name, &LabStateBus::name) != state.buses.end();
    });
  });
}

/// The state of a lab that may be just starting: it makes its buses one after another. Blocks:
/// until all are there, at most for a few seconds.
LabState with_all_buses(const FoundLab& found) {
  constexpr std::chrono::milliseconds kBetweenLooks{20};
  constexpr int kMaxLooksAtStart = 250;
  LabState state = found.state;
  for (int look = 0; look < kMaxLooksAtStart && !state.ready && !has_all_buses(state); ++look) {
    std::this_thread::sleep_for(kBetweenLooks);
    std::optional<LabState> now = read_lab_state(found.folder, state.name);
    if (now) state = *std::move(now);
  }
  return state;
}

/// The lab that `word` names, by its name or its file. Throws Exception if that is a lab which does
/// not run. Result: empty if it names none.
std::optional<PageSubject> lab_named(const std::string& word) {
  const bool is_file = word.ends_with(".toml");
  const std::optional<FoundLab> found =
      is_file ? find_lab_of_file(word, name_of_lab_file(word)).value() : find_lab(word);
  if (!found || !found->alive) {
    if (!found && !is_file && word.find('/') != std::string::npos) return std::nullopt;
    const bool is_there = is_file && std::filesystem::exists(word);
    const std::error_code why = std::make_error_code(std::errc::no_such_file_or_directory);
    if (found || is_there) {
      const std::string file = is_there ? word : found->state.file;
      throw Exception(Error(why, "cannot show the lab " + word + ": it is not up (" +
                                     base::quote_command("shmifctl up", file) + " starts it)"));
    }
    throw Exception(Error(why, "cannot show " + word +
                                   ": there is no such file, and no lab of that name is up "
                                   "('shmifctl ls' lists labs and buses)"));
  }
  if (is_file && !is_of_file(found->state, word)) {
    const std::string& name = found->state.name;
    throw Exception(Error(std::make_error_code(std::errc::no_such_file_or_directory),
                          "cannot show the lab of " + word + ": the lab " + name +
                              " that is up is of " + found->state.file + " (" +
                              base::quote_command("shmifctl serve", name) + " shows that one)"));
  }
  const LabState state = with_all_buses(*found);
  PageSubject subject{
      .name = state.name, .buses = {}, .lab = ServedLab{state.name, found->folder, state.file}};
  subject.buses.reserve(state.buses.size());
  for (const LabStateBus& bus : state.buses) subject.buses.push_back({bus.name, bus.path});
  return subject;
}

/// `words`: paths of buses; or one word, which may also be the file or the name of a lab that runs.
/// A bus is called by the last part of its path, or by all of it if two are called the same. Throws
/// Exception if a word is neither.
PageSubject subject_of(const std::vector<std::string>& words) {
  if (words.size() == 1 && !Bus::open(words.front())) {
    if (std::optional<PageSubject> lab = lab_named(words.front())) return *std::move(lab);
  }
  PageSubject subject;
  subject.buses.reserve(words.size());
  for (const std::string& path : words) {
    static_cast<void>(look_at(path));
    const auto same = std::ranges::count(words, last_part(path), last_part);
    subject.buses.push_back({same > 1 ? path : last_part(path), path});
    subject.name += (subject.name.empty() ? "" : ", ") + subject.buses.back().name;
  }
  return subject;
}

// ---- The page ----

/// The URL of the page. A browser cannot open a wildcard address.
std::string url_of(const SocketAddress& at, const std::string& token) {
  const std::string port = std::to_string(at.port());
  const std::string host = !at.is_any() ? at.to_string() : "localhost:" + port;
  return "http://" + host + "/?token=" + token;
}

/// Whether only this machine can reach the address.
bool is_local(const SocketAddress& at) {
  const std::string text = at.to_string();
  return text.starts_with("127.") || text.starts_with("[::1]");
}

void wait_for_end(const StopSignals& stop, std::optional<std::chrono::nanoseconds> at_most) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(1);
  const auto begin = now();
  while (!stop.stopped()) {
    const auto left = at_most ? *at_most - (now() - begin) : kLongest;
    if (left.count() <= 0) return;
    const auto step = std::chrono::ceil<std::chrono::milliseconds>(std::min(left, kLongest));
    stop.wait(static_cast<int>(step.count()));
  }
}

int run_serve(const CommandLine& line) {
  constexpr std::chrono::milliseconds kInterval{1000};
  constexpr int kBacklog = 64;
  ServeWish wish = read_serve_line(line);
  PageSubject subject = subject_of(wish.words);
  wish.access.token = random_token();
  UniqueFd listener = bound_socket(SOCK_STREAM, wish.address).value();
  if (::listen(listener.get(), kBacklog) != 0) {
    throw Exception(
        Error::from_errno(errno, "cannot listen at " + wish.address.to_string(),
                          "another program uses that port; choose another with --http"));
  }
  const SocketAddress at = address_of(listener.get()).value();
  const StopSignals stop;
  stop.bound_writes();
  const std::string url = url_of(at, wish.access.token);
  if (!is_local(at)) {
    complain("the page at " + at.to_string() +
             " can be reached from other machines, and is not encrypted");
  }
  PageSite site(std::move(subject), std::move(wish.access), kInterval);
  const std::unique_ptr<HttpServer> server = serve_http(std::move(listener), site.site()).value();
  std::printf("%s\n", url.c_str());
  if (std::fflush(stdout) != 0)
    throw Exception(Error::from_errno(errno, "cannot write to standard output"));
  wait_for_end(stop, wish.at_most);
  return kDone;
}

}  // namespace

const Command kServeCommand{"serve", "show buses in a browser, live", run_serve};

}  // namespace shmif::tools
