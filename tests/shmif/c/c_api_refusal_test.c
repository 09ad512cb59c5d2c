/* What the C facade refuses, and what it says and counts. `c_api_refusal_test CASE` runs one. */

#include "tests/shmif/c/c_api_rig.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

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
