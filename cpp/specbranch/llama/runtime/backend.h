/// The one piece of global state: llama.cpp's backend, and where its log lines go.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace specbranch::llama {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };

/// One line of llama.cpp's log, without its line end.
struct LogLine {
  LogLevel level = LogLevel::kInfo;
  std::string text;
};

/// Initialises llama.cpp and ggml once, and installs the log sink. Cheap afterwards. Any thread.
/// Sets GGML_NO_BACKTRACE=1 unless it is set: an abort must not start a debugger.
void init_backend();

/// Makes llama.cpp and ggml log into our buffer (again). Nothing is printed.
///
/// Importing the Python package `llama_cpp` replaces the callback with one that needs the GIL: a
/// worker that logs while the holder of the GIL waits for it would deadlock. So call this before
/// each load and each generation; without a change it only compares two pointers. Any thread, but
/// llama.cpp reads the callback without a lock, so a *change* may race with a line being logged.
void install_log_sink();

/// Takes the lines collected so far, oldest first. Never calls Python. Any thread.
/// At most 1,024 lines are kept; when more came, the first line returned says how many were lost.
std::vector<LogLine> drain_log_lines();

/// Lines below `level` are not collected; default kInfo. Any thread.
void set_log_level(LogLevel level);

/// While alive, remembers the last error lines that *this* thread logs: the reason of a failure
/// for which the C API returns null. Captures nest; the innermost one gets the lines.
class ErrorCapture {
 public:
  /// While `*expected` is true, errors are what was asked for: they are logged as kDebug. Null:
  /// none are.
  explicit ErrorCapture(const std::atomic<bool>* expected = nullptr);
  ~ErrorCapture();
  ErrorCapture(const ErrorCapture&) = delete;
  ErrorCapture& operator=(const ErrorCapture&) = delete;

  /// The first error line (what llama.cpp reports next only repeats that loading failed), or
  /// `otherwise` when there was none.
  std::string reason(const std::string& otherwise) const;

  /// Internal: called by the sink.
  void add(const std::string& line);
  bool expected() const noexcept { return expected_ != nullptr && expected_->load(); }

 private:
  const std::atomic<bool>* expected_;
  std::string first_;
  ErrorCapture* outer_;
};

/// While alive, what *this* thread makes llama.cpp log is logged as kDebug. Objects nest.
class QuietLog {
 public:
  QuietLog();
  ~QuietLog();
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;

 private:
  bool outer_;
};

}  // namespace specbranch::llama
