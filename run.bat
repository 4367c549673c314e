@echo off
rem Starts OneGAI inside WSL (the Linux of Windows). Arguments are those of run.sh:
rem     run.bat                   serve on http://127.0.0.1:58080 (Ctrl-C stops it)
rem     run.bat --port 58081      serve, with options
rem     run.bat doctor            any other command; run.bat --help lists them
setlocal EnableExtensions DisableDelayedExpansion
set "WSL_UTF8=1"

rem The console shows UTF-8 while OneGAI runs, and what it showed before after it.
set "OLDPAGE="
for /f "tokens=2 delims=:." %%c in ('chcp') do set "OLDPAGE=%%c"
chcp 65001 >nul

rem wsl.exe ends with -1 when it fails, which "if errorlevel" does not see. It may ask whether to install itself.
where wsl.exe >nul 2>&1 || goto no_wsl

rem A folder inside of WSL (\\wsl.localhost\Ubuntu\home\me\OneGAI) names its Linux; any other is on a Windows disk.
set "HERE=%~dp0"
set "IN_LINUX="
if /i "%HERE:~0,16%"=="\\wsl.localhost\" set "IN_LINUX=1"
if /i "%HERE:~0,7%"=="\\wsl$\" set "IN_LINUX=1"
if defined IN_LINUX goto inside

wsl.exe --exec bash --version >nul 2>&1 <nul || goto no_linux
set "FOLDER="
for /f "usebackq delims=" %%p in (`wsl.exe --exec wslpath -a "%HERE:\=/%"`) do set "FOLDER=%%p"
if not defined FOLDER goto no_folder
wsl.exe --exec bash "%FOLDER%/run.sh" %*
set "STATUS=%ERRORLEVEL%"
goto done

:inside
for /f "tokens=1,2,* delims=\" %%a in ("%HERE%") do (
    set "LINUX=%%b"
    set "FOLDER=/%%c"
)
set "FOLDER=%FOLDER:\=/%"
wsl.exe -d "%LINUX%" --exec bash --version >nul 2>&1 <nul || goto no_linux
wsl.exe -d "%LINUX%" --exec bash "%FOLDER%/run.sh" %*
set "STATUS=%ERRORLEVEL%"
goto done

:no_wsl
echo error: OneGAI runs in WSL, the Linux of Windows, and this Windows has none. 1>&2
echo   fix: run this in an administrator PowerShell, restart Windows, and start run.bat again: 1>&2
echo        wsl --install -d Ubuntu-24.04 1>&2
set "STATUS=1"
goto done

:no_linux
echo error: WSL is there, but no Linux with bash starts in it. 1>&2
echo   fix: see what there is with:    wsl --list --verbose 1>&2
echo        install one with:          wsl --install -d Ubuntu-24.04 1>&2
echo        or choose another one with: wsl --set-default Ubuntu-24.04 1>&2
set "STATUS=1"
goto done

:no_folder
echo error: WSL does not see the folder "%HERE%" 1>&2
echo   fix: clone OneGAI inside of WSL, in its home folder: git clone ... ~/OneGAI 1>&2
set "STATUS=1"
goto done

:done
if defined OLDPAGE chcp %OLDPAGE% >nul
if "%STATUS%"=="0" goto end
if "%STATUS%"=="130" goto end
rem Started by a double click, the window would close before the message can be read. Then cmd was told this file's path.
setlocal EnableDelayedExpansion
set "COMMAND=!CMDCMDLINE!"
if not "!COMMAND:%~f0=!"=="!COMMAND!" pause
endlocal
:end
endlocal & exit /b %STATUS%
