/* What the C facade tells of a bus and of its ports, following a bus without a port on it, and what
 * is refused, said and counted. `c_api_bus_test CASE` runs one case. */

#include "tests/shmif/c/c_api_rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct shmif_bus_info info_of_bus(void) {
  struct shmif_bus_info info = {.size = sizeof info};
  CHECK(shmif_inspect(g_path, &info) == 0);
  CHECK(info.size == sizeof info);
  return info;
}

static void a_bus_tells_what_it_is_and_what_happened_on_it(void) {
  CHECK(shmif_destroy(g_path, 0) == 0);
  const struct shmif_bus_options options = {
      .size = sizeof options, .ring_bytes = 1 << 21, .mtu = 4000, .patience_ns = 7000000};
  CHECK(shmif_create(g_path, &options) == 0);
  struct shmif_bus_info info = info_of_bus();
  CHECK(info.format == SHMIF_FORMAT_SHMIF && info.mtu == 4000 && info.ring_bytes == 1 << 21);
  CHECK(info.patience_ns == 7000000 && info.carries_offloads == 1 && info.repairs == 0);
  CHECK(info.ports == 0 && info.max_ports > 100 && info.frames == 0 && info.created_ns > 0);
  shmif_port* sender = open_port_up("sender");
  shmif_port* other = open_port("other");
  send_many(sender, 5);
  info = info_of_bus();
  CHECK(info.ports == 2 && info.frames == 5);
  CHECK(shmif_bus_frames(sender) == 5 && shmif_bus_frames(other) == 5);
  shmif_close(sender);
  shmif_close(other);

  /* Half of it, for a program that knows no more. */
  memset(&info, 0xee, sizeof info);
  info.size = offsetof(struct shmif_bus_info, ring_bytes);
  CHECK(shmif_inspect(g_path, &info) == 0);
  CHECK(info.mtu == 4000 && info.ring_bytes == 0xeeeeeeeeeeeeeeeeU);
}

static void a_bus_of_netbsds_format_has_no_list_of_ports(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .format = SHMIF_FORMAT_NETBSD};
  CHECK(shmif_destroy(g_path, 0) == 0 && shmif_create(g_path, &options) == 0);
  const struct shmif_bus_info info = info_of_bus();
  CHECK(info.format == SHMIF_FORMAT_NETBSD && info.mtu == 1500 && info.max_ports == 0);
  CHECK(shmif_list_ports(g_path, NULL, 0) == -EOPNOTSUPP);
  CHECK(strstr(shmif_message(), g_path) != NULL);
}

static void each_port_is_listed_with_what_it_did(void) {
  const struct shmif_port_options options = {.size = sizeof options,
                                             .name = "first",
                                             .mac = {2, 0, 0, 0, 0, 1},
                                             .flags = SHMIF_PROMISCUOUS};
  shmif_port* first = NULL;
  CHECK(shmif_open(g_path, &options, &first) == 0 && shmif_up(first) == 0);
  shmif_port* second = open_port_up("second");
  shmif_port* third = open_port("third");
  send_many(first, 3);
  unsigned char in[kFrameBytes];
  for (int i = 0; i < 3; ++i) CHECK(shmif_receive(second, in, sizeof in, NULL) == kFrameBytes);
  CHECK(shmif_receive(second, in, sizeof in, NULL) == 0);

  struct shmif_port_info ports[4];
  memset(ports, 0xee, sizeof ports);
  ports[0].size = sizeof ports[0];
  CHECK(shmif_list_ports(g_path, NULL, 0) == 3);
  CHECK(shmif_list_ports(g_path, ports, 2) == 3);
  CHECK(ports[2].slot == 0xeeeeeeeeU); /* no room was given for the third */
  CHECK(shmif_list_ports(g_path, ports, 4) == 3);
  CHECK(ports[3].slot == 0xeeeeeeeeU);
  CHECK(strcmp(ports[0].name, "first") == 0 && strcmp(ports[1].name, "second") == 0 &&
        strcmp(ports[2].name, "third") == 0);
  CHECK(ports[0].slot == shmif_slot(first) && ports[2].slot == shmif_slot(third));
  CHECK(memcmp(ports[0].mac, options.mac, 6) == 0 && ports[0].pid == getpid());
  CHECK(strcmp(ports[0].kind, "library") == 0 && ports[0].size == sizeof ports[0]);
  const uint32_t always = SHMIF_PORT_LIVE | SHMIF_PORT_CARRIER | SHMIF_PORT_CARRIER_KNOWN;
  CHECK(ports[0].flags == (always | SHMIF_PORT_UP | SHMIF_PORT_PROMISCUOUS));
  CHECK(ports[1].flags == (always | SHMIF_PORT_UP) && ports[2].flags == always);
  CHECK(ports[0].tx_frames == 3 && ports[0].tx_bytes == 3 * kFrameBytes);
  CHECK(ports[1].rx_frames == 3 && ports[1].rx_bytes == 3 * kFrameBytes);
  CHECK(ports[1].tx_frames == 0 && ports[0].rx_frames == 0 && ports[1].lost_frames == 0);

  /* An array of shorter structures, of a program that knows no more. */
  enum { kShort = offsetof(struct shmif_port_info, tx_frames) };
  union {
    struct shmif_port_info whole;
    unsigned char bytes[4 * sizeof(struct shmif_port_info)];
  } row;
  memset(&row, 0xee, sizeof row);
  row.whole.size = kShort;
  CHECK(shmif_list_ports(g_path, &row.whole, 3) == 3);
  CHECK(strcmp((const char*)row.bytes + kShort + offsetof(struct shmif_port_info, name),
               "second") == 0);
  for (size_t i = (size_t)3 * kShort; i < sizeof row; ++i) CHECK(row.bytes[i] == 0xee);
  shmif_close(first);
  shmif_close(second);
  shmif_close(third);
  CHECK(shmif_list_ports(g_path, ports, 4) == 0);
}

static void a_repair_frees_the_row_of_a_dead_port(void) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    open_port("dead");
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  struct shmif_port_info port = {.size = sizeof port};
  CHECK(shmif_list_ports(g_path, &port, 1) == 1);
  CHECK(strcmp(port.name, "dead") == 0 && (port.flags & SHMIF_PORT_LIVE) == 0 && port.pid == child);
  CHECK(shmif_repair(g_path, 0) == 0);
  CHECK(shmif_list_ports(g_path, &port, 1) == 0);
}

static void a_port_that_takes_no_changes_is_told_from_one_that_is_not_there(void) {
  shmif_port* port = open_port("rig");
  char text[8] = "before";
  CHECK(shmif_line(g_path, "rig", text, sizeof text) == 0 && strcmp(text, "") == 0);
  CHECK(shmif_line(g_path, "gir", text, sizeof text) == -ENODEV);
  CHECK(strstr(shmif_message(), "\"gir\"") != NULL && strstr(shmif_message(), g_path) != NULL);
  CHECK(shmif_change(g_path, "rig", "link down", 2000, NULL, 0) == -EOPNOTSUPP);
  CHECK(shmif_change(g_path, "gir", "link down", 2000, NULL, 0) == -ENODEV);
  CHECK(strstr(shmif_message(), "gir") != NULL);
  CHECK(shmif_change(g_path, "rig", "link sideways", 2000, NULL, 0) == -EINVAL);
  CHECK(strstr(shmif_message(), "needs up or down") != NULL);
  shmif_close(port);
}

static void what_is_no_bus_is_refused_by_each_call(void) {
  struct shmif_bus_info info = {.size = sizeof info};
  struct shmif_port_info port = {.size = sizeof port};
  char text[8];
  const char* const none = "/nonexistent/bus";
  CHECK(shmif_inspect(none, &info) == -ENOENT && strstr(shmif_message(), none) != NULL);
  CHECK(shmif_list_ports(none, &port, 1) == -ENOENT && strstr(shmif_message(), none) != NULL);
  CHECK(shmif_line(none, "rig", text, sizeof text) == -ENOENT);
  CHECK(shmif_change(none, NULL, "heal", 0, NULL, 0) == -ENOENT);
  CHECK(shmif_repair(none, 1) == -ENOENT && shmif_inspect("/dev/null", &info) == -EINVAL);

  CHECK(is_refused(shmif_inspect(NULL, &info), "shmif_inspect:"));
  CHECK(is_refused(shmif_inspect(g_path, NULL), "shmif_inspect:"));
  CHECK(is_refused(shmif_list_ports(NULL, NULL, 0), "shmif_list_ports:"));
  CHECK(is_refused(shmif_list_ports(g_path, NULL, 1), "shmif_list_ports:"));
  CHECK(is_refused(shmif_line(NULL, "rig", text, sizeof text), "shmif_line:"));
  CHECK(is_refused(shmif_line(g_path, NULL, text, sizeof text), "shmif_line:"));
  CHECK(is_refused(shmif_line(g_path, "rig", NULL, sizeof text), "shmif_line:"));
  CHECK(is_refused(shmif_line(g_path, "rig", text, 0), "shmif_line:"));
  CHECK(is_refused(shmif_change(NULL, "rig", "heal", 0, NULL, 0), "shmif_change:"));
  CHECK(is_refused(shmif_change(g_path, "rig", NULL, 0, NULL, 0), "shmif_change:"));
  CHECK(is_refused(shmif_change(g_path, "rig", "heal", -1, NULL, 0), "shmif_change:"));
  CHECK(is_refused(shmif_repair(NULL, 0), "shmif_repair:"));
  info.size = port.size = 0;
  CHECK(is_refused(shmif_inspect(g_path, &info), "shmif_inspect:"));
  CHECK(is_refused(shmif_list_ports(g_path, &port, 1), "shmif_list_ports:"));
}

static shmif_follower* follow(uint32_t flags) {
  shmif_follower* follower = NULL;
  CHECK(shmif_follow(g_path, flags, &follower) == 0 && follower != NULL);
  return follower;
}

/** Takes a frame of send_many() or send_marked(), and compares its mark. */
static struct shmif_frame_info take_marked(shmif_follower* follower, unsigned mark) {
  unsigned char in[kFrameBytes];
  struct shmif_frame_info info = {.size = sizeof info};
  CHECK(shmif_follower_receive(follower, in, sizeof in, &info) == kFrameBytes);
  CHECK(in[kFrameBytes - 1] == (unsigned char)mark && info.bytes == kFrameBytes);
  return info;
}

static void a_follower_needs_read_permission_only(void) {
  shmif_port* sender = open_port_up("sender");
  CHECK(chmod(g_directory, 0755) == 0 && chmod(g_path, 0444) == 0);
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0) _exit(77);
    shmif_port* port = NULL;
    CHECK(shmif_open(g_path, NULL, &port) == -EACCES && port == NULL);
    CHECK(strstr(shmif_message(), g_path) != NULL);
    shmif_follower* follower = follow(SHMIF_START_OLDEST);
    CHECK(shmif_follower_wait(follower, 30000) == 1);
    take_marked(follower, 3);
    shmif_unfollow(follower);
    _exit(0);
  }
  send_marked(sender, 3, 3);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) SKIP("another user cannot run here");
  CHECK(status == 0);
  struct shmif_bus_info bus = {.size = sizeof bus};
  CHECK(shmif_inspect(g_path, &bus) == 0 && bus.ports == 1);
  shmif_close(sender);
}

static void a_follower_hears_frames_for_all_from_where_it_was_asked_to(void) {
  shmif_port* sender = open_port_up("sender");
  send_marked(sender, 1, 3);
  shmif_follower* now = follow(0);
  shmif_follower* oldest = follow(SHMIF_START_OLDEST);
  unsigned char frame[kFrameBytes];
  fill_frame(frame, 4);
  memset(frame, 2, 6); /* to an address that no port has */
  CHECK(shmif_send(sender, frame, sizeof frame) == 0);

  const struct shmif_frame_info first = take_marked(oldest, 1);
  CHECK(first.lost == 0 && first.truncated == 0 && first.time_ns > 0);
  CHECK(first.sender == shmif_slot(sender));
  CHECK(take_marked(oldest, 2).number == first.number + 1);
  take_marked(oldest, 3);
  CHECK(take_marked(oldest, 4).number == first.number + 3);
  CHECK(take_marked(now, 4).number == first.number + 3);

  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  CHECK(shmif_follower_receive(now, in, sizeof in, &info) == 0 && info.bytes == 0);
  CHECK(shmif_follower_receive(now, in, sizeof in, NULL) == 0);
  send_marked(sender, 5, 5);
  CHECK(shmif_follower_receive(now, in, 20, &info) == 20);
  CHECK(info.bytes == kFrameBytes && info.truncated == 1 && in[19] == 5);
  CHECK(shmif_follower_max_frame_bytes(now) == 1522);
  shmif_unfollow(now);
  shmif_unfollow(oldest);
  shmif_unfollow(NULL);
  shmif_close(sender);
}

static void a_wait_of_a_follower_ends_when_a_frame_comes_and_in_time(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  CHECK(shmif_follower_wait(follower, 0) == 0 && shmif_follower_wait(follower, 5) == 0);
  send_marked(sender, 1, 2);
  CHECK(shmif_follower_wait(follower, -1) == 1);
  take_marked(follower, 1);
  CHECK(shmif_follower_wait(follower, 0) == 1); /* it has fetched the second one */
  take_marked(follower, 2);
  CHECK(shmif_follower_wait(follower, 0) == 0);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void a_follower_is_served_by_a_poll_loop(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  const int fd = shmif_follower_descriptor(follower);
  CHECK(fd >= 0 && shmif_follower_descriptor(follower) == fd);
  int at_most_ms = -2;
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 0);
  CHECK(at_most_ms >= 1 && at_most_ms <= 50);
  struct pollfd entry = {.fd = fd, .events = POLLIN};
  CHECK(poll(&entry, 1, 30000) == 1); /* the timer, without a frame */
  shmif_follower_finish_wait(follower);
  CHECK(poll(&entry, 1, 0) == 0);
  send_marked(sender, 1, 2);
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 1 && at_most_ms == 0);
  shmif_follower_finish_wait(follower);
  take_marked(follower, 1);
  CHECK(shmif_follower_prepare_wait(follower, &at_most_ms) == 1 && at_most_ms == 0);
  shmif_follower_finish_wait(follower);
  take_marked(follower, 2);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void a_follower_counts_what_it_lost(void) {
  shmif_port* sender = open_port_up("sender");
  shmif_follower* first = follow(0);
  shmif_follower* newest = follow(SHMIF_RESUME_NEWEST);
  enum { kSent = 40000 }; /* more than a ring of 1 MiB has room for */
  send_many(sender, kSent);
  struct shmif_frame_info info = {.size = sizeof info};
  unsigned char in[kFrameBytes];
  uint64_t heard = 0;
  uint64_t lost = 0;
  while (shmif_follower_receive(first, in, sizeof in, &info) > 0 || info.lost > 0) {
    heard += info.bytes > 0;
    lost += info.lost;
  }
  CHECK(heard > 0 && lost > 0 && heard + lost == kSent);
  struct shmif_counters counters = {.size = sizeof counters};
  CHECK(shmif_follower_get_counters(first, &counters) == 0);
  CHECK(counters.rx_frames == heard && counters.lost_frames == lost && counters.overruns == 1);
  CHECK(counters.rx_bytes == heard * kFrameBytes && counters.tx_frames == 0);

  CHECK(shmif_follower_receive(newest, in, sizeof in, &info) == 0 && info.lost == kSent);
  send_marked(sender, 9, 9);
  take_marked(newest, 9);
  shmif_unfollow(first);
  shmif_unfollow(newest);
  shmif_close(sender);
}

static void a_follower_reads_netbsds_format(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .format = SHMIF_FORMAT_NETBSD};
  CHECK(shmif_destroy(g_path, 0) == 0 && shmif_create(g_path, &options) == 0);
  shmif_port* sender = open_port_up("sender");
  shmif_follower* follower = follow(0);
  send_marked(sender, 7, 7);
  CHECK(take_marked(follower, 7).sender == 0xffff);
  shmif_unfollow(follower);
  shmif_close(sender);
}

static void what_cannot_be_followed_is_refused(void) {
  shmif_follower* follower = (shmif_follower*)g_path;
  CHECK(shmif_follow("/nonexistent/bus", 0, &follower) == -ENOENT && follower == NULL);
  CHECK(strstr(shmif_message(), "/nonexistent/bus") != NULL);
  CHECK(is_refused(shmif_follow(NULL, 0, &follower), "shmif_follow:"));
  CHECK(is_refused(shmif_follow(g_path, 0, NULL), "shmif_follow:"));
  follower = (shmif_follower*)g_path;
  CHECK(is_refused(shmif_follow(g_path, SHMIF_LEARN, &follower), "shmif_follow:"));
  CHECK(follower == NULL);
  follower = follow(0);
  unsigned char in[8];
  struct shmif_frame_info info = {.size = 0};
  CHECK(is_refused(shmif_follower_receive(follower, in, 0, NULL), "shmif_follower_receive:"));
  CHECK(is_refused(shmif_follower_receive(follower, in, 8, &info), "shmif_follower_receive:"));
  struct shmif_counters counters = {.size = 0};
  CHECK(is_refused(shmif_follower_get_counters(follower, NULL), "shmif_follower_get_counters:"));
  CHECK(
      is_refused(shmif_follower_get_counters(follower, &counters), "shmif_follower_get_counters:"));
  shmif_unfollow(follower);
}

static void a_batch_ends_at_a_refused_frame_wherever_it_stands(void) {
  enum { kFrames = 200 };
  static const unsigned kBad[] = {0, 1, 63, 64, 65, 127, 128, kFrames - 1};
  int (*const calls[])(shmif_port*, const struct iovec*, size_t) = {shmif_send_batch,
                                                                    shmif_try_send_batch};
  static unsigned char frames[kFrames][2048];
  struct iovec batch[kFrames];
  unsigned char in[2048];
  shmif_port* sender = open_port_up("sender");
  shmif_port* receiver = open_port_up("receiver");
  for (size_t at = 0; at < sizeof kBad / sizeof kBad[0]; ++at) {
    for (int way = 0; way < 2; ++way) {
      const int bad = (int)kBad[at];
      for (int i = 0; i < kFrames; ++i) {
        fill_frame(frames[i], (unsigned char)i);
        batch[i] = (struct iovec){frames[i], i == bad ? sizeof frames[i] : kFrameBytes};
      }
      CHECK(calls[way](sender, batch, kFrames) == (bad == 0 ? -EMSGSIZE : bad));
      CHECK(calls[way](sender, batch + bad, kFrames - (size_t)bad) == -EMSGSIZE);
      for (int i = 0; i < bad; ++i)
        CHECK(shmif_receive(receiver, in, sizeof in, NULL) == kFrameBytes && in[14] == i);
      CHECK(shmif_receive(receiver, in, sizeof in, NULL) == 0);
      CHECK(calls[way](sender, batch, 0) == 0);
    }
  }
  shmif_close(sender);
  shmif_close(receiver);
}

/** Ends a child with `step` where a result is not -EPERM, or where the message does not say what
 * was tried. */
static void expect_forked(int step, int result, const char* tried) {
  char wanted[160];
  snprintf(wanted, sizeof wanted, "cannot %s on bus:%s: ", tried, g_path);
  if (result == -EPERM && strncmp(shmif_message(), wanted, strlen(wanted)) == 0) return;
  fprintf(stderr, "step %d: %d, %s\n", step, result, shmif_message());
  _exit(step);
}

static void in_the_child_of_a_fork_each_call_says_what_it_tried(void) {
  shmif_port* port = open_port_up("port");
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    unsigned char in[kFrameBytes] = {2};
    struct iovec into = {in, sizeof in};
    expect_forked(1, shmif_up(port), "go up");
    expect_forked(2, shmif_down(port), "go down");
    expect_forked(3, shmif_send(port, in, sizeof in), "send");
    expect_forked(4, shmif_receive(port, in, sizeof in, NULL), "receive");
    expect_forked(5, shmif_send_batch(port, &into, 1), "send");
    expect_forked(6, shmif_receive_batch(port, &into, NULL, 1), "receive");
    expect_forked(7, shmif_try_send_batch(port, &into, 1), "send");
    expect_forked(8, shmif_receive_in_place(port, &into, NULL, 1), "receive");
    expect_forked(9, shmif_set_mac(port, in), "set the MAC address");
    expect_forked(10, shmif_set_promiscuous(port, 1), "set promiscuous mode");
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  shmif_close(port);
}

static void* fail_in_another_thread(void* empty_at_first) {
  *(int*)empty_at_first = shmif_message()[0] == '\0';
  CHECK(shmif_destroy("/nonexistent/other", 0) == -ENOENT);
  return NULL;
}

static void a_message_is_that_of_the_calling_thread_and_stays_until_its_next_failure(void) {
  pthread_t thread;
  int empty_at_first = 0;
  CHECK(shmif_message()[0] == '\0');
  CHECK(shmif_destroy("/nonexistent/mine", 0) == -ENOENT);
  CHECK(pthread_create(&thread, NULL, fail_in_another_thread, &empty_at_first) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(empty_at_first);
  CHECK(strstr(shmif_message(), "/nonexistent/mine") != NULL);
  shmif_close(open_port_up("port")); /* which does not fail */
  CHECK(strstr(shmif_message(), "/nonexistent/mine") != NULL);
  CHECK(shmif_destroy("/nonexistent/next", 0) == -ENOENT);
  CHECK(strstr(shmif_message(), "/nonexistent/next") != NULL);
}

static void options_of_a_newer_header_count_as_far_as_they_are_known(void) {
  struct {
    struct shmif_bus_options known;
    unsigned char more[64];
  } bus = {.known = {.size = sizeof bus, .ring_bytes = 1 << 17, .mtu = 9000, .mode = 0640}};
  struct {
    struct shmif_port_options known;
    unsigned char more[64];
  } options = {.known = {.size = sizeof options, .name = "newer", .mac = {2, 0, 0, 0, 0, 5}}};
  struct {
    struct shmif_counters known;
    unsigned char more[64];
  } counters = {.known = {.size = sizeof counters}};
  memset(bus.more, 0xee, sizeof bus.more);
  memset(options.more, 0xee, sizeof options.more);
  memset(counters.more, 0xee, sizeof counters.more);
  shmif_port* port = NULL;
  unsigned char mac[6];
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(shmif_open_or_create(g_path, &bus.known, &options.known, &port) == 0);
  shmif_mac(port, mac);
  CHECK(strcmp(shmif_name(port), "newer") == 0 && shmif_mtu(port) == 9000 && mac[5] == 5);
  CHECK(shmif_get_counters(port, &counters.known) == 0);
  CHECK(counters.known.size == sizeof counters && counters.known.refused_frames == 0);
  for (size_t i = 0; i < sizeof counters.more; ++i) CHECK(counters.more[i] == 0xee);
  shmif_close(port);
}

static void each_counter_is_in_its_own_member(void) {
  static unsigned char frame[3000];
  unsigned char in[kFrameBytes];
  shmif_port* rig = open_port_up("rig");
  shmif_port* other = open_port_up("other");
  fill_frame(frame, 1);
  for (size_t i = 0; i < 4; ++i) CHECK(shmif_send(rig, frame, 14 + i) == 0);
  for (int i = 0; i < 2; ++i) CHECK(shmif_send(rig, frame, sizeof frame) == -EMSGSIZE);
  for (size_t i = 0; i < 5; ++i) CHECK(shmif_send(rig, frame, 13 - i) == -EINVAL);
  for (size_t i = 0; i < 3; ++i) CHECK(shmif_send(other, frame, 57 + i) == 0);
  frame[0] = 2; /* nobody's */
  for (int i = 0; i < 7; ++i) CHECK(shmif_send(other, frame, 20) == 0);
  while (shmif_receive(rig, in, sizeof in, NULL) > 0) continue;
  CHECK(shmif_down(rig) == 0);
  for (int i = 0; i < 6; ++i) CHECK(shmif_send(other, frame, 20) == 0);
  CHECK(shmif_up(rig) == 0 && shmif_receive(rig, in, sizeof in, NULL) == 0);

  struct shmif_counters wanted = {.size = sizeof wanted};
  wanted.tx_frames = wanted.tx_segments = wanted.own_frames = 4;
  wanted.tx_bytes = 14 + 15 + 16 + 17;
  wanted.rx_frames = wanted.rx_segments = 3;
  wanted.rx_bytes = 57 + 58 + 59;
  wanted.filtered_frames = 7;
  wanted.skipped_frames = 6;
  wanted.too_long_frames = 2;
  wanted.refused_frames = 5;
  const struct shmif_counters is = counters_of(rig);
  const uint64_t* const want = &wanted.tx_frames;
  for (size_t i = 0; i < (sizeof wanted - sizeof wanted.size) / sizeof *want; ++i) {
    if ((&is.tx_frames)[i] != want[i]) fprintf(stderr, "the counter number %zu differs:\n", i);
    CHECK((&is.tx_frames)[i] == want[i]);
  }
  /* Of what is 0 up to here, an overrun is its own. */
  for (int i = 0; i < 30000; ++i) CHECK(shmif_send(other, frame, 20) == 0);
  CHECK(shmif_receive(rig, in, sizeof in, NULL) == 0);
  CHECK(counters_of(rig).overruns == 1 && counters_of(rig).lost_frames > 1);
  CHECK(counters_of(rig).corrupt == 0 && counters_of(rig).lock_sleeps == 0);
  CHECK(counters_of(rig).skipped_frames == 6);
  shmif_close(rig);
  shmif_close(other);
}

static void a_bus_of_netbsds_format_is_made_and_found_out(void) {
  const struct shmif_bus_options netbsd = {
      .size = sizeof netbsd, .mode = 0640, .format = SHMIF_FORMAT_NETBSD};
  const struct shmif_bus_options with_size = {
      .size = sizeof with_size, .ring_bytes = 1 << 20, .format = SHMIF_FORMAT_NETBSD};
  unsigned char out[kFrameBytes];
  unsigned char in[2048];
  unsigned char too_long[1515] = {0};
  struct shmif_frame_info info = {.size = sizeof info};
  shmif_port* made = NULL;
  /* The bus that exists has our own format. */
  CHECK(shmif_open_or_create(g_path, &netbsd, NULL, &made) == -EINVAL && made == NULL);
  CHECK(strstr(shmif_message(), "NetBSD's was asked for") != NULL);
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(shmif_create(g_path, &with_size) == -EINVAL);
  CHECK(strstr(shmif_message(), "leave the size out") != NULL);
  CHECK(shmif_open_or_create(g_path, &netbsd, NULL, &made) == 0);
  CHECK(shmif_create(g_path, &netbsd) == -EEXIST);
  shmif_port* found = open_port_up("found"); /* which does not tell the format */
  CHECK(shmif_up(made) == 0);
  CHECK(shmif_mtu(made) == 1500 && shmif_mtu(found) == 1500);
  fill_frame(out, 7);
  CHECK(shmif_send(made, out, sizeof out) == 0);
  CHECK(shmif_send(made, too_long, sizeof too_long) == -EMSGSIZE);
  CHECK(shmif_receive(found, in, sizeof in, &info) == kFrameBytes);
  CHECK(memcmp(in, out, sizeof out) == 0 && info.sender == 0xffff && info.lost == 0);
  CHECK(shmif_receive(found, in, sizeof in, NULL) == 0);
  CHECK(shmif_receive(made, in, sizeof in, NULL) == 0); /* not its own */
  shmif_close(made);
  shmif_close(found);
  CHECK(shmif_destroy(g_path, 0) == -EOPNOTSUPP);
  CHECK(shmif_destroy(g_path, 1) == 0);
}

static void a_format_that_is_not_known_is_refused(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .format = 2};
  shmif_port* port = NULL;
  CHECK(shmif_destroy(g_path, 0) == 0);
  CHECK(shmif_create(g_path, &options) == -EINVAL);
  CHECK(strstr(shmif_message(), "options->format") != NULL);
  CHECK(shmif_open_or_create(g_path, &options, NULL, &port) == -EINVAL && port == NULL);
  CHECK(strstr(shmif_message(), "bus->format") != NULL);
  CHECK(access(g_path, F_OK) != 0);
}

const struct test_case kCases[] = {
    {"ABusTellsWhatItIsAndWhatHappenedOnIt", a_bus_tells_what_it_is_and_what_happened_on_it},
    {"ABusOfNetbsdsFormatHasNoListOfPorts", a_bus_of_netbsds_format_has_no_list_of_ports},
    {"EachPortIsListedWithWhatItDid", each_port_is_listed_with_what_it_did},
    {"ARepairFreesTheRowOfADeadPort", a_repair_frees_the_row_of_a_dead_port},
    {"APortThatTakesNoChangesIsToldFromOneThatIsNotThere",
     a_port_that_takes_no_changes_is_told_from_one_that_is_not_there},
    {"WhatIsNoBusIsRefusedByEachCall", what_is_no_bus_is_refused_by_each_call},
    {"AFollowerNeedsReadPermissionOnly", a_follower_needs_read_permission_only},
    {"AFollowerHearsFramesForAll", a_follower_hears_frames_for_all_from_where_it_was_asked_to},
    {"AWaitOfAFollowerEnds", a_wait_of_a_follower_ends_when_a_frame_comes_and_in_time},
    {"AFollowerIsServedByAPollLoop", a_follower_is_served_by_a_poll_loop},
    {"AFollowerCountsWhatItLost", a_follower_counts_what_it_lost},
    {"AFollowerReadsNetbsdsFormat", a_follower_reads_netbsds_format},
    {"WhatCannotBeFollowedIsRefused", what_cannot_be_followed_is_refused},
    {"ABatchEndsAtARefusedFrameWhereverItStands",
     a_batch_ends_at_a_refused_frame_wherever_it_stands},
    {"InTheChildOfAForkEachCallSaysWhatItTried",
     in_the_child_of_a_fork_each_call_says_what_it_tried},
    {"AMessageIsThatOfTheCallingThreadAndStaysUntilItsNextFailure",
     a_message_is_that_of_the_calling_thread_and_stays_until_its_next_failure},
    {"OptionsOfANewerHeaderCountAsFarAsTheyAreKnown",
     options_of_a_newer_header_count_as_far_as_they_are_known},
    {"EachCounterIsInItsOwnMember", each_counter_is_in_its_own_member},
    {"ABusOfNetbsdsFormatIsMadeAndFoundOut", a_bus_of_netbsds_format_is_made_and_found_out},
    {"AFormatThatIsNotKnownIsRefused", a_format_that_is_not_known_is_refused},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
