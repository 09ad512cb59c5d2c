#include "tools/relay/bus_options.hpp"

#include <sys/stat.h>

#include <exception>

#include "shmif/port.hpp"

namespace shmif::tools {
namespace {

/// Twice the library's default: four TCP streams of super-frames overrun a ring of 4 MiB, and then
/// retransmit 25,000 segments or more in 2 s; with this ring, none.
constexpr std::uint64_t kRingOfHosts = 8U << 20U;

}  // namespace

void add_bus_options(Options& options) {
  options
      .flag("create",
            R"(make the bus if it does not exist. A bus that exists must have the --size, the
               --mtu and the --flow that are given)")
      .value("format", "KIND",
             R"(with --create: "shmif" (default), or "netbsd" for the bus of NetBSD's rump kernels,
                which has neither --size nor --mtu nor --flow)")
      .value("size", "BYTES",
             "with --create: the ring size, a power of two from 64K to 1G (default 8M)")
      .value("mtu", "N", "with --create: the MTU, 68 to 65521 (default 1500)")
      .value("flow", "KIND",
             R"(with --create: "pause" makes senders wait for slow ports (default "ethernet":
                they overwrite what a slow port has not read))");
  add_lock_option(options);
}

void add_lock_option(Options& options) {
  options.flag("lock-memory",
               R"(lock the pages of the bus in memory (mlock), so that no frame waits for a page
                  that was swapped out. Fails if the limit of 'ulimit -l' is too small)");
}

void add_offload_option(Options& options, const std::string& also) {
  options.flag("no-offload",
               "neither send nor receive super-frames (unsegmented packets of up to 64 KiB): "
               "disables TSO/GSO and checksum offload on TAP and veth devices" +
                   also +
                   ". Without this option, super-frames cross the bus whole, and a port that does "
                   "not take them cuts them into segments");
}

void add_fault_option(Options& options, const std::string& whose) {
  options.repeatable(
      "fault", "FAULTS",
      "faults " + whose +
          R"(: lose, delay, damage or limit frames, for example "loss=1%,delay=5ms±1ms" (the list is
          in 'shmifctl bridge --help'). FAULTS holds for both directions, in:FAULTS only for frames
          from the bus, out:FAULTS only for frames to the bus; with semicolons between them they add
          up, and so do several of these options. Super-frames are cut into segments, which meet
          the faults one by one)");
}

LineFaults line_faults_of(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : ";") + text;
  auto parsed = parse_line_faults(all);
  if (!parsed) throw UsageError{"--fault: " + parsed.error().message};
  return *std::move(parsed);
}

std::optional<LineFaults> line_faults_option(const Arguments& args) {
  if (!args.given("fault")) return std::nullopt;
  return line_faults_of(args.all("fault"));
}

BusWish bus_wish(const Arguments& args) {
  BusWish wish;
  wish.options.ring_bytes = kRingOfHosts;
  wish.lock_memory = args.flag("lock-memory");
  wish.create = args.flag("create");
  if (const auto bytes = args.size("size")) {
    wish.options.ring_bytes = *bytes;
    wish.ring_bytes_asked = true;
  }
  if (const auto mtu = args.packet_bytes("mtu")) {
    wish.options.mtu = static_cast<std::uint32_t>(*mtu);
    wish.mtu_asked = true;
  }
  if (const auto flow = flow_option(args)) {
    wish.options.flow = *flow;
    wish.flow_asked = true;
  }
  if (!wish.create &&
      (wish.ring_bytes_asked || wish.mtu_asked || wish.flow_asked || args.given("format"))) {
    throw UsageError{
        "--format, --size, --mtu and --flow apply only to a new bus: give --create, too"};
  }
  wish.options.format = format_option(args);
  if (wish.options.format == BusFormat::netbsd) wish.options.ring_bytes = BusOptions{}.ring_bytes;
  return wish;
}

BusFormat format_option(const Arguments& args) {
  const std::string kind = args.text("format").value_or("shmif");
  if (kind == to_string(BusFormat::shmif)) return BusFormat::shmif;
  if (kind != to_string(BusFormat::netbsd))
    throw UsageError{"--format \"" + kind + "\" is not known (shmif or netbsd)"};
  for (const char* const option : {"size", "mtu", "flow", "patience"}) {
    if (!args.given(option)) continue;
    throw UsageError{std::string("--format netbsd has one size, one MTU and no flow control: leave "
                                 "--") +
                     option + " out"};
  }
  return BusFormat::netbsd;
}

std::optional<Flow> flow_option(const Arguments& args) {
  const auto kind = args.text("flow");
  if (!kind) return std::nullopt;
  for (const Flow flow : {Flow::ethernet, Flow::pause}) {
    if (*kind == to_string(flow)) return flow;
  }
  throw UsageError{"--flow \"" + *kind + "\" is not known (ethernet or pause)"};
}

NewBus::~NewBus() {
  if (path_.empty()) return;
  struct stat now{};
  const bool is_ours =
      ::lstat(path_.c_str(), &now) == 0 && now.st_ino == inode_ && now.st_dev == device_;
  try {
    if (is_ours) static_cast<void>(Bus::destroy(path_, false));
  } catch (const std::exception&) {
    return;  // no memory: the bus stays
  }
}

Result<Bus> provide_bus(const std::string& path, const BusWish& wish, NewBus& made) {
  if (!wish.create) {
    Result<Bus> bus = Bus::open(path);
    // Attaching makes a bus in some files. The caller attaches later, so this does it first.
    if (bus || bus.error().code != Errc::not_ready || !Port().attach(path)) return bus;
    return Bus::open(path);
  }
  // If this fails, the call below does, too, or finds the bus of somebody who was faster.
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 && Bus::create(path, wish.options)) {
    Result<Bus> bus = Bus::open(path);
    if (bus) made = NewBus(path, bus->info());
    return bus;
  }
  auto bus = Bus::create_if_missing(path, wish.options, wish.ring_bytes_asked, wish.mtu_asked);
  if (!bus || !wish.flow_asked) return bus;
  const Flow is = bus->info().flow;
  if (is == wish.options.flow) return bus;
  return Error(Errc::geometry_differs,
               "the bus " + path + " exists with the flow " + to_string(is) + ", " +
                   to_string(wish.options.flow) +
                   " was asked for (leave the option out, or destroy the bus first)");
}

}  // namespace shmif::tools
