// shmifctl extcap: what Wireshark asks of a program in its folder for external captures.
//
// The protocol: extcap(4), and the chapter "Extcap" of the Wireshark Developer's Guide. Wireshark
// runs the program once for each question and reads "sentences", such as
// "interface {value=NAME}{display=TEXT}". It ignores the output of a program that exits with a
// failure, so a wrong filter is told by a message on standard output and the exit code 0.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "shmif/filter.hpp"
#include "tools/common/options.hpp"
#include "tools/common/program.hpp"
#include "tools/lab/state.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/shmifctl/live_capture.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

constexpr std::string_view kInterfacePrefix = "shmif:";
constexpr std::string_view kUsualFolder = "/dev/shm/";

/// The name of a bus as an interface: "shmif:bus0" for /dev/shm/bus0, "shmif::tmp:lan" for
/// /tmp/lan. It has no slash, because Wireshark makes it a part of a file's name, and no character
/// that ends a value of a sentence.
std::string interface_of(std::string_view path) {
  if (path.starts_with(kUsualFolder)) path.remove_prefix(kUsualFolder.size());
  constexpr std::string_view kPlain = "-_.+";
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string name(kInterfacePrefix);
  for (const char each : path) {
    const auto byte = static_cast<unsigned char>(each);
    const bool plain = (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') ||
                       (each >= '0' && each <= '9') || kPlain.find(each) != std::string_view::npos;
    if (plain || each == '/') {
      name += each == '/' ? ':' : each;
    } else {
      name += '%';
      name += kDigits[byte >> 4U];
      name += kDigits[byte & 0xfU];
    }
  }
  return name;
}

std::optional<unsigned> hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a') + 10;
  return std::nullopt;
}

/// The reverse of interface_of().
std::string bus_of_interface(const std::string& interface) {
  const auto refuse = [&]() -> void {
    throw UsageError{"--extcap-interface \"" + interface +
                     "\" is no bus (--extcap-interfaces lists them)"};
  };
  if (!interface.starts_with(kInterfacePrefix) || interface.size() == kInterfacePrefix.size())
    refuse();
  std::string path;
  for (std::size_t at = kInterfacePrefix.size(); at < interface.size(); ++at) {
    const char each = interface[at];
    if (each != '%') {
      path += each == ':' ? '/' : each;
      continue;
    }
    const auto high = at + 2 < interface.size() ? hex_digit(interface[at + 1]) : std::nullopt;
    const auto low = at + 2 < interface.size() ? hex_digit(interface[at + 2]) : std::nullopt;
    if (!high || !low) refuse();
    path += static_cast<char>(*high << 4U | *low);
    at += 2;
  }
  return path.starts_with('/') ? path : std::string(kUsualFolder) + path;
}

/// A text inside of braces.
std::string in_braces(std::string_view text) {
  std::string plain = base::printable(text);
  std::ranges::replace(plain, '{', '(');
  std::ranges::replace(plain, '}', ')');
  return '{' + plain + '}';
}

void print_version_sentence() {
  std::printf("extcap {version=%s}{display=shmif}\n", version_number().c_str());
}

void print_interfaces() {
  print_version_sentence();
  const std::vector<FoundLab> labs = find_labs();
  std::vector<std::string> paths;
  for (const FoundLab& lab : labs) {
    for (const LabStateBus& bus : lab.state.buses) paths.push_back(bus.path);
  }
  for (const BusInfo& bus : find_buses(paths)) {
    std::string text = "display=shmif bus " + bus.path + ", ";
    if (bus.format == BusFormat::shmif) {
      const auto live = std::ranges::count_if(bus.ports, &PortInfo::live);
      text += base::counted(static_cast<std::uint64_t>(live), "port") + ", ";
    }
    text += "MTU " + std::to_string(bus.mtu);
    for (const FoundLab& lab : labs) {
      for (const LabStateBus& each : lab.state.buses) {
        if (each.path == bus.path) text += ", lab " + lab.state.name;
      }
    }
    std::printf("interface {value=%s}%s\n", interface_of(bus.path).c_str(),
                in_braces(text).c_str());
  }
}

/// The options of a capture. Their numbers and values are those of Wireshark's dialogue.
void print_config(const std::string& path) {
  const BusInfo bus = look_at(path).info();  // before anything is printed
  std::printf(
      "arg {number=0}{call=--history}{display=Begin with the oldest frame in the ring}"
      "{type=boolflag}{default=false}{tooltip=Otherwise with the first frame sent from now on}\n"
      "arg {number=1}{call=--filter}{display=Filter}{type=string}"
      "{tooltip=As man pcap-filter, with numbers for hosts and ports. The capture filter of "
      "Wireshark applies, too}\n"
      "arg {number=2}{call=--port}{display=Only frames that this port sent}{type=selector}"
      "{reload=true}{placeholder=Look for ports}\n"
      "arg {number=3}{call=--super-frames}{display=Unsegmented (TSO) packets as they are}"
      "{type=boolflag}{default=false}{tooltip=Otherwise as the frames that they stand for}\n"
      "value {arg=2}{value=}{display=any port}{default=true}\n");
  for (const PortInfo& port : bus.ports) {
    // A value cannot contain every character.
    if (!port.live || in_braces(port.name) != '{' + port.name + '}') continue;
    std::printf(
        "value {arg=2}{value=%s}%s{default=false}\n", port.name.c_str(),
        in_braces("display=" + port.name + ", " + to_string(port.link) + ", " + mac_text(port))
            .c_str());
  }
}

/// Says nothing about a filter that is right.
void print_verdict(const std::string& filter) {
  const Result<FrameFilter> compiled = FrameFilter::compile(filter);
  if (!compiled) std::printf("%s\n", base::printable(compiled.error().message).c_str());
}

/// Makes the FIFO the standard output. Waits until somebody opens it for reading.
void write_to_fifo(const std::string& path) {
  const std::string what = "cannot write to the FIFO " + path;
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) throw Exception(Error::from_errno(errno, what));
  if (!S_ISFIFO(status.st_mode)) {
    throw UsageError{"--fifo \"" + path +
                     "\" is not a FIFO (to record into a file, run 'shmifctl dump PATH -w FILE')"};
  }
  const UniqueFd fifo(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fifo || ::dup2(fifo.get(), STDOUT_FILENO) < 0)
    throw Exception(Error::from_errno(errno, what));
}

Options extcap_options() {
  Options options("extcap", "");
  options
      .about(
          R"(Lets Wireshark and tshark capture from a bus: they list each bus as an interface.
             Wireshark calls this command; you need only put a link to shmifctl into its folder
             for extcap, as the last example does. "tshark -G folders" names the folders: the
             personal one is ~/.config/wireshark/extcap before version 4.2, and
             ~/.local/lib/wireshark/extcap since then. If the first word of shmifctl begins with
             "--extcap-" or is "--capture", it is this command that runs.)")
      .flag("extcap-interfaces", "list the buses of 'shmifctl ls' as interfaces")
      .open("extcap-version", "VERSION",
            "the version of Wireshark that asks; alone: print the version of this program", "any")
      .value("extcap-interface", "NAME",
             R"(the bus: "shmif:" and its name in /dev/shm, or its path with colons for slashes.
                Characters other than letters, digits, "-", "_", "." and "+" are written as "%"
                and two hexadecimal digits)")
      .flag("extcap-dlts", "print the link type of the interface: Ethernet")
      .flag("extcap-config", "print the options of a capture, and the ports of the bus")
      .value("extcap-reload-option", "OPTION", "with --extcap-config: no effect")
      .value("extcap-capture-filter", "FILTER",
             R"(with --capture: record only frames that FILTER (man pcap-filter) matches.
                Otherwise print why FILTER is wrong, or nothing if it is right)")
      .flag("extcap-cleanup-postkill", "no effect: a capture that was killed leaves nothing")
      .flag("capture", "record the frames of the bus as pcapng, until the reader goes")
      .value("fifo", "FIFO", "where to write the capture")
      .flag("history", "with --capture: begin with the oldest frame that is in the ring")
      .value("filter", "FILTER",
             "with --capture: as --extcap-capture-filter; a frame must match both")
      .value("port", "NAME", "with --capture: only frames that the port NAME sent")
      .flag("super-frames",
            R"(with --capture: record each super-frame (an unsegmented TSO packet) as one
               frame)")
      .words(0, 0)
      .example("shmifctl extcap --extcap-interfaces", "what Wireshark is told")
      .example(R"x(ln -s "$(command -v shmifctl)" ~/.config/wireshark/extcap/shmif)x",
               "let Wireshark find it");
  return options;
}

/// Wireshark may give an option without a value as an empty value. It always names an interface.
CommandLine without_empty_values(CommandLine line) {
  std::vector<std::string>& words = line.words;
  const auto names_interface = [](const std::string& word) {
    return word == "--extcap-interface" || word.starts_with("--extcap-interface=");
  };
  if (std::ranges::none_of(words, names_interface)) return line;
  for (const std::string_view option : {"--filter", "--port", "--extcap-capture-filter"}) {
    std::erase(words, std::string(option) + '=');
    for (std::size_t at = 0; at + 1 < words.size();) {
      if (words[at] == option && words[at + 1].empty()) {
        words.erase(words.begin() + static_cast<std::ptrdiff_t>(at),
                    words.begin() + static_cast<std::ptrdiff_t>(at) + 2);
      } else {
        ++at;
      }
    }
  }
  return line;
}

std::string bus_given(const Arguments& args) {
  const auto interface = args.text("extcap-interface");
  if (!interface) throw UsageError{"of which bus? (give --extcap-interface NAME)"};
  return bus_of_interface(*interface);
}

/// The frames that match both.
std::string both(const std::string& one, const std::string& other) {
  if (one.empty() || other.empty()) return one + other;
  return "(" + one + ") and (" + other + ")";
}

int run_capture(const Arguments& args) {
  LiveCapture asked;
  asked.bus = bus_given(args);
  const auto fifo = args.text("fifo");
  if (!fifo) throw UsageError{"--capture needs a place to write to (give --fifo FIFO)"};
  for (const char* const option : {"extcap-capture-filter", "filter"}) {
    const std::string filter = args.text(option).value_or("");
    // Each by itself: "a) or (b" is none.
    if (const Result<FrameFilter> compiled = FrameFilter::compile(filter); !compiled) {
      if (compiled.error().code == Errc::bad_argument) throw UsageError{compiled.error().message};
      throw Exception(compiled.error());
    }
    asked.filter = both(asked.filter, filter);
  }
  if (const auto port = args.text("port")) asked.ports.push_back(*port);
  asked.history = args.flag("history");
  asked.super_frames = args.flag("super-frames");
  write_to_fifo(*fifo);
  return capture_live(asked);
}

int run_extcap(const CommandLine& line) {
  const Arguments args = extcap_options().parse(without_empty_values(line));
  if (args.flag("extcap-interfaces")) {
    print_interfaces();
  } else if (args.flag("extcap-dlts")) {
    std::printf("dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
  } else if (args.flag("extcap-config")) {
    print_config(bus_given(args));
  } else if (args.flag("capture")) {
    return run_capture(args);
  } else if (const auto filter = args.text("extcap-capture-filter")) {
    print_verdict(*filter);
  } else if (args.given("extcap-version")) {
    print_version_sentence();
  } else if (!args.flag("extcap-cleanup-postkill")) {
    throw UsageError{
        "nothing is asked (Wireshark calls this command; to watch a bus, run "
        "'shmifctl dump PATH')"};
  }
  return kDone;
}

}  // namespace

const Command kExtcapCommand{"extcap", "let Wireshark capture from a bus", run_extcap};

}  // namespace shmif::tools
