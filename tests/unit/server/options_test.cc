#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace vitower {
namespace {

using testing::HasSubstr;

TEST(ParseAddress, TakesNamesAndBothKindsOfNumbers) {
  const auto v4 = ParseAddress("--listen", "0.0.0.0:50051");
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->host, "0.0.0.0");
  EXPECT_EQ(v4->port, 50051);
  const auto v6 = ParseAddress("--listen", "[::1]:0");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(ParseAddress("--listen", "localhost:65535")->port, 65535);
}

TEST(ParseAddress, NamesTheFlagAndTheValueOfWhatItRefuses) {
  for (const char* bad : {"", "50051", "host:", "host:x", "host:65536", "host:-1", "host:1x", ":50051", "::1:50051"}) {
    const auto parsed = ParseAddress("--listen", bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("--listen is \"" + std::string(bad) + "\"")) << bad;
  }
}

TEST(ResolveOptions, ChoosesAQueueOfSixteenBatchesOrOneItem) {
  ServerOptions options;
  options.max_item_patches = 4096;
  EXPECT_EQ(ResolveOptions(options)->max_queue_patches, 16 * 1024);
  options.max_item_patches = 65536;
  EXPECT_EQ(ResolveOptions(options)->max_queue_patches, 65536);
  options.max_queue_patches = 8;
  EXPECT_EQ(ResolveOptions(options)->max_queue_patches, 8);
}

TEST(ResolveOptions, ChoosesAtLeastOnePreprocessingThread) {
  EXPECT_GE(ResolveOptions({})->preprocess_threads, 1);
  ServerOptions options;
  options.preprocess_threads = 3;
  EXPECT_EQ(ResolveOptions(options)->preprocess_threads, 3);
}

TEST(ResolveOptions, NamesTheFlagTheValueAndTheLimit) {
  ServerOptions options;
  options.max_request_bytes = int64_t{3} << 30;
  EXPECT_THAT(std::string(ResolveOptions(options).status().message()),
              HasSubstr("--max-request-bytes is 3221225472; it must be 1024 to 2147483647"));
  options = {};
  options.max_batch_patches = 0;
  EXPECT_THAT(std::string(ResolveOptions(options).status().message()), HasSubstr("--max-batch-patches is 0"));
}

TEST(ResolveOptions, NamesBothFlagsWhereTlsAndTokensDoNotFitTogether) {
  const auto refusal = [](const ServerOptions& options) {
    return std::string(ResolveOptions(options).status().message());
  };
  ServerOptions options;
  options.tls_key = "key";
  EXPECT_THAT(refusal(options), HasSubstr("--tls-key is given without --tls-cert"));
  options = {};
  options.tls_cert = "cert";
  EXPECT_THAT(refusal(options), HasSubstr("--tls-cert is given without --tls-key"));
  options = {};
  options.tls_client_ca = "ca";
  EXPECT_THAT(refusal(options), HasSubstr("--tls-client-ca is given without --tls-cert"));
  options = {};
  options.auth_tokens = "tokens";
  EXPECT_THAT(refusal(options), HasSubstr("--auth-tokens without --tls-cert"));
  options.plain_text_tokens = true;
  EXPECT_EQ(refusal(options), "");
}

TEST(ResolveOptions, LooksAtBothAddresses) {
  ServerOptions options;
  options.metrics_listen = "9464";
  EXPECT_THAT(std::string(ResolveOptions(options).status().message()), HasSubstr("--metrics-listen is \"9464\""));
}

TEST(ResolveOptions, LimitsTheBatchThatTheWarmUpMustFill) {
  ServerOptions options;
  options.max_batch_patches = 100'000'000;
  EXPECT_THAT(std::string(ResolveOptions(options).status().message()),
              HasSubstr("--max-batch-patches is 100000000; it must be 4 to 4194304"));
}

TEST(ResolveOptions, RefusesMetricsOverIpV6) {
  ServerOptions options;
  options.metrics_listen = "[::1]:0";
  EXPECT_THAT(std::string(ResolveOptions(options).status().message()),
              HasSubstr("--metrics-listen is \"[::1]:0\": metrics are served over IPv4 only"));
  options.metrics_listen = "127.0.0.1:0";
  options.listen = "[::1]:0";
  EXPECT_TRUE(ResolveOptions(options).ok());
}

TEST(ResolveOptions, RefusesOnePortForBoth) {
  ServerOptions options;
  options.listen = "0.0.0.0:9000";
  options.metrics_listen = "127.0.0.1:9000";
  const std::string message(ResolveOptions(options).status().message());
  EXPECT_THAT(message, HasSubstr("--listen is \"0.0.0.0:9000\" and --metrics-listen is \"127.0.0.1:9000\""));
  options.listen = "127.0.0.2:9000";
  EXPECT_TRUE(ResolveOptions(options).ok());
  options.listen = options.metrics_listen = "127.0.0.1:0";
  EXPECT_TRUE(ResolveOptions(options).ok());
}

TEST(ResolveOptions, BoundsWhatIsSaidOfClipsAndStreams) {
  const auto message = [](auto change) {
    ServerOptions options;
    change(options);
    return std::string(ResolveOptions(options).status().message());
  };
  EXPECT_EQ(message([](ServerOptions& o) { o.stream_chunk_bytes = 65'535; }),
            "--stream-chunk-bytes is 65535; it must be 65536 to 3145728");
  EXPECT_EQ(message([](ServerOptions& o) { o.max_stream_items = 0; }),
            "--max-stream-items is 0; it must be 1 to 1000000");
  EXPECT_THAT(message([](ServerOptions& o) { o.max_video_frames = 0; }), HasSubstr("--max-video-frames is 0"));
  EXPECT_THAT(message([](ServerOptions& o) { o.max_video_seconds = 0; }), HasSubstr("--max-video-seconds is 0"));
  EXPECT_NE(message([](ServerOptions& o) { o.max_video_seconds = std::nan(""); }), "");
}

}  // namespace
}  // namespace vitower
